"""The page of `loanloop page`: what `watch` shows, in a browser."""
