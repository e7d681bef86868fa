"""What decides features besides the image: described whole, and watched for changes."""
