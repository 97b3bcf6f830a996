"""What an operator runs beside the live path: verify, replay, dead letters, bringing a stack up."""
