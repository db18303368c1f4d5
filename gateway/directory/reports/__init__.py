"""Questions asked of the directory's records, one file each. `REPORTS` lists them. They read; nothing here writes."""

from gateway.directory.reports import verification

REPORTS = (verification,)
