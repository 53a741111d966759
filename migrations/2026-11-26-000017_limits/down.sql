DROP TABLE limits;
DROP FUNCTION tronch_note_limits();
DROP FUNCTION tronch_refuse_moved_limit();
DROP FUNCTION tronch_log_limit();
