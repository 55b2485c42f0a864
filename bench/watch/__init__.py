"""What blocking-call monitors find, and what each costs."""
