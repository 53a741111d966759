-- Nothing is lost.
SET LOCAL lock_timeout = '2s';
DROP INDEX keys_rotated;
