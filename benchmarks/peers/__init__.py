"""What other systems' own routes make of the same programs, next to what this service hands back."""
