-- Open invitations are lost.
DROP TABLE invitations;
