//! The bot's own web page: session tokens and the JSON of its API.
