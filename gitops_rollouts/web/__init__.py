"""What this process answers over HTTP. It gets what it shows from the manager."""
