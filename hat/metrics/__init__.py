"""How good a translation is: functions of lists of strings, no model."""
