"""Questions asked of the evidence, one file each. `REPORTS` lists them. They read; nothing here writes."""

from gateway.evidence.reports import verification

REPORTS = (verification,)
