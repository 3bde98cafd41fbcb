"""The arguments that name the key of encrypted backups, shared by the verbs that make or open them."""

from __future__ import annotations

import argparse
from getpass import getpass

from engine.backups.keys import BackupKey, key_file, make_key_file, passphrase
from engine.errors import InvalidArgument


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """`--key-file`, `--passphrase`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--key-file", metavar="FILE", help="the key file that backups are encrypted with")
    which.add_argument(
        "--passphrase", action="store_true", help="ask for the passphrase that backups are encrypted with"
    )


def key_from(args: argparse.Namespace, *, is_new: bool = False) -> BackupKey | None:
    """The key that the arguments name; a passphrase is asked for, twice where it is a new one."""
    if getattr(args, "make_key_file", None):
        return make_key_file(args.make_key_file)
    if args.key_file:
        return key_file(args.key_file)
    if not args.passphrase:
        return None
    text = getpass("Passphrase of the backups: ")
    if is_new and getpass("Once more: ") != text:
        raise InvalidArgument(argument="the passphrase", issue="the two are not the same")
    return passphrase(text)
