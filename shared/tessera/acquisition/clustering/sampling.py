"""D² sampling in high dimension: exact, and far fewer distances than points times draws."""
