"""MySQL and MariaDB: LOAD DATA LOCAL (or multi-row inserts) into a stage, then one ordered merge, with PyMySQL."""
