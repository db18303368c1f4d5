"""One file per organisational rule; `RULES` lists what a default installation switches on."""

from policies.rules.actions import Actions
from policies.rules.data_grade import DataGrade

RULES = (DataGrade, Actions)
