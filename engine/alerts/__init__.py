"""What a person has to be told of: alerts that are raised, answered, escalated and cleared."""
