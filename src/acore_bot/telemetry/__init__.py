"""What happened: small frozen records, handed to whoever listens. Imports nothing of ours."""
