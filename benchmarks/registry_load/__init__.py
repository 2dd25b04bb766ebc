"""A registry under load: crowds, histories, emergencies."""
