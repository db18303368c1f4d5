"""One file per kind of sensitive text. None is switched on yet."""
