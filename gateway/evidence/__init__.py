"""What the filters decided, provably: one record a decision, numbered, chained, never the value.

Decision ─▶ records.Evidence ─▶ recorder (in groups, before anything leaves) ─▶ store ─▶ sealed by upkeep within seconds
                                                                                  └▶ reports: overview, rules, dry run, verify
"""
