"""What is shown of each kind of record: functions from records to tables and charts as data."""
