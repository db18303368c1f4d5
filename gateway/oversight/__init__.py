"""Those who watch the filters: exceptions with an end, reports that a filter was wrong and what came of them."""
