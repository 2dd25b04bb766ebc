"""What people see in a terminal: tables, plans, the live view."""
