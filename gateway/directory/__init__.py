"""People: departments (a dated tree), memberships, roles, pledges, API keys, sessions.

    directory.py  what may be done, each deed with its audit record and its `change` in one transaction
    store.py      the SQL, and the sealing of audit records;  tables.py  the tables;  reports/  is the audit record whole?
    keys.py       how a key is made and recognised;  passwords.py  how one is kept;  sessions.py  signing in and out
    demo.py       what a first start puts in

Times are UTC microseconds since 1970, as integers: exact, the same on both databases, and comparable without a zone.
A row with `valid_to` null holds now. Nothing that held is overwritten: it is given an end and the next row begins there.
"""
