"""Questions asked of the evidence, one file each."""

REPORTS = ("dry_run", "overview", "verification")
