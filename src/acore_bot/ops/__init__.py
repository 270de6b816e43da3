"""What an operator needs: whether the bot is well, and what it did."""
