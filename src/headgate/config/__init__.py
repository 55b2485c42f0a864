"""What can be set: declared once (`settings`), gathered (`load`), and accounted for (`explain`)."""
