"""Text in, decision out. Pure: knows neither HTTP nor money."""
