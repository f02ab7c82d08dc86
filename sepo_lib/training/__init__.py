"""How is a policy trained? Demonstrations, supervised fine-tuning, SEPO."""
