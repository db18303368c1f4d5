"""One file, one question: its answer's shape, its query. `REPORTS` lists them. They read; nothing here writes."""

from billing.reports import recorded, standing, usage, verification

REPORTS = (recorded, standing, usage, verification)
