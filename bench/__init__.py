"""The load harness behind `make bench`, and the budget simulator. See README.md."""
