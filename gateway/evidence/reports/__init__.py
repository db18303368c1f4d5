"""Questions asked of the evidence, one file each. `REPORTS` lists them. They read; nothing here writes."""

from gateway.evidence.reports import dry_run, overview, verification

REPORTS = (dry_run, overview, verification)
