"""Functions from each kind of record to tables and charts as data."""
