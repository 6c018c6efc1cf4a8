"""Will this flight arrive 15 or more minutes late?  A whole machine-learning project on real data."""
