-- Links that were sent lead nowhere.
DROP TABLE password_resets;
