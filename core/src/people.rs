//! What members may do about people and the organisation itself. One exhaustive match. Service tokens never do any of it, so it is no
//! permission.

use crate::permission::Role;

/// One thing that only a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeopleRight {
    /// See who is in the organisation, and as what.
    SeeMembers,
    /// Invite people, change what they are, remove them.
    ManageMembers,
    /// Take the organisation along, hand it over, delete it.
    ManageOrganisation,
}

impl PeopleRight {
    /// Each, in the order they are shown in.
    pub const ALL: [Self; 3] = [Self::SeeMembers, Self::ManageMembers, Self::ManageOrganisation];

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::SeeMembers => "See who is in the organisation",
            Self::ManageMembers => "Invite people, change their roles, remove them",
            Self::ManageOrganisation => "Take along, hand over and delete the organisation",
        }
    }

    /// As refusals name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SeeMembers => "members.read",
            Self::ManageMembers => "members.write",
            Self::ManageOrganisation => "organisation.write",
        }
    }
}

/// Whether a role has a right. The whole table.
pub fn has_right(role: Role, right: PeopleRight) -> bool {
    use PeopleRight as R;
    match role {
        Role::Owner => match right {
            R::SeeMembers | R::ManageMembers | R::ManageOrganisation => true,
        },
        Role::Admin => match right {
            R::SeeMembers | R::ManageMembers => true,
            R::ManageOrganisation => false,
        },
        Role::Developer | Role::Viewer => match right {
            R::SeeMembers => true,
            R::ManageMembers | R::ManageOrganisation => false,
        },
    }
}

/// Whether somebody of the first role may make somebody, or no longer have somebody be, of the second: nobody gives or takes what he
/// does not hold.
pub fn may_give(giver: Role, given: Role) -> bool {
    // The mightier come first.
    has_right(giver, PeopleRight::ManageMembers) && giver <= given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mightier_role_has_all_rights_of_a_lesser_one() {
        for right in PeopleRight::ALL {
            for pair in Role::ALL.windows(2) {
                assert!(has_right(pair[0], right) || !has_right(pair[1], right), "{right:?} {pair:?}");
            }
        }
    }

    #[test]
    fn nobody_gives_what_he_does_not_hold() {
        let given = |giver| Role::ALL.map(|given| may_give(giver, given));
        assert_eq!(given(Role::Owner), [true, true, true, true]);
        assert_eq!(given(Role::Admin), [false, true, true, true]);
        assert_eq!(given(Role::Developer), [false; 4]);
        assert_eq!(given(Role::Viewer), [false; 4]);
    }
}
