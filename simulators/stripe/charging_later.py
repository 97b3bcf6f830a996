"""What happens some time after a charge: an authorization expires, a buyer disputes."""

from simulators.stripe.account import Account
from simulators.stripe.banks import Bank
from simulators.stripe.cards import Card, Dispute
from simulators.stripe.charges import AUTHORIZATION_SECONDS
from simulators.stripe.store import Body

DISPUTE_SECONDS = 1.0
"""So that a payment is known before it is disputed, as it is at Stripe."""


def expire_authorization(account: Account, intent: Body) -> None:
    """What is not captured in a week is released."""
    account.later(AUTHORIZATION_SECONDS, "authorization_expires", intent["id"])


def after_capture(account: Account, charge: Body, behaves: Card | Bank) -> None:
    """Some test cards have a buyer who complains."""
    if isinstance(behaves, Bank):
        if behaves.disputed:
            account.later(DISPUTE_SECONDS, "dispute_opens", charge["id"])
        return
    match behaves.dispute:
        case None:
            return
        case Dispute.WARNING:
            account.later(DISPUTE_SECONDS, "fraud_warning", charge["id"])
        case Dispute.INQUIRY:
            account.later(DISPUTE_SECONDS, "inquiry_opens", charge["id"])
        case Dispute.FRAUDULENT | Dispute.PRODUCT_NOT_RECEIVED:
            for _ in range(behaves.disputes):
                account.later(DISPUTE_SECONDS, "dispute_opens", charge["id"])
