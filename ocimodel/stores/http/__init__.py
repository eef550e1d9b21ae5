"""HTTP as registries speak it: connections, credentials, redirects, retries. Nothing else imports urllib3."""
