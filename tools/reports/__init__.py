"""Pictures, pages and tables. ``tables`` is the one writer of tables, and has the one convention for errors."""
