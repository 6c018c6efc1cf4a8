"""PostgreSQL of the platform: a role and a database for each service that keeps records in it, and how it logs in.

``preparation`` makes them with the administrator's rights, once; services log in as their own role with IAM tokens
(``login``) and reach nothing of each other's.
"""
