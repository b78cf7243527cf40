"""What a control server takes."""
