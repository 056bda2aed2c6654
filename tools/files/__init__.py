"""Where things lie, and files that are whole or not there. Everything else in tools/ may use this room."""
