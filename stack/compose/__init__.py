"""What `docker-compose.yml` needs in addition: generated secrets and PostgreSQL's logins."""
