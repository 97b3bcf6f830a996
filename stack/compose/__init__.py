"""What `docker-compose.yml` needs beside itself: generated secrets and PostgreSQL's logins."""
