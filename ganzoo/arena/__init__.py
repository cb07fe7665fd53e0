"""The leaderboard: every valid combination of some parts, trained alike and measured alike. `ganzoo arena` is its command."""
