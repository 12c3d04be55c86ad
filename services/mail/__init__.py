"""Mail: what other services ask for on `mail.send` becomes an e-mail, once, in the reader's language."""
