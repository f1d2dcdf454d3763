"""From compressed files to tables and figures."""
