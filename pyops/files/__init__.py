"""Files of arrays, read and written so that no crash leaves half of one."""
