"""TLS to Consul: what is trusted and shown, and what to do about a handshake that failed."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp

from hrpc.errors import CertificateError
from hrpc.option import Consul

# Of OpenSSL's verification (https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/).
_EXPIRED, _OTHER_HOST, _OTHER_IP = 10, 62, 64

GIVE_CERTIFICATE = (
    "give a certificate that it trusts, Consul(client_cert=…, client_key=…), or CONSUL_CLIENT_CERT and "
    "CONSUL_CLIENT_KEY"
)


def client_context(consul: Consul) -> ssl.SSLContext:
    """What connections to Consul are made with. Raises `CertificateError`."""
    try:
        context = ssl.create_default_context()
        if consul.ca_cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            for path in _files(consul.ca_cert):
                context.load_verify_locations(path)
            if not context.get_ca_certs():
                raise OSError(f"{consul.ca_cert!r} has no certificate of an authority")
        if consul.client_cert and consul.client_key:
            context.load_cert_chain(consul.client_cert, consul.client_key)
    except OSError as error:  # also the errors of ssl
        raise CertificateError(
            f"the certificates for Consul cannot be used: {error}; check Consul(ca_cert=…, client_cert=…, "
            "client_key=…), CONSUL_CACERT, CONSUL_CAPATH, CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY"
        ) from error
    return context


def _files(ca_cert: str) -> list[Path]:
    path = Path(ca_cert)
    return sorted(found for found in path.iterdir() if found.is_file()) if path.is_dir() else [path]


def tls_fault(error: BaseException | None) -> str | None:
    """What is wrong with a handshake and what to do about it; None when `error` is not that of one."""
    fault = _ssl_error(error)
    if fault is None:
        return None
    if isinstance(fault, ssl.SSLCertVerificationError):
        return _untrusted(fault)
    reason = fault.reason or ""
    if reason == "WRONG_VERSION_NUMBER" or "HTTP_REQUEST" in reason:
        return "it speaks no TLS there: make it http:// in the address, or give the port for HTTPS"
    if "ALERT" in reason:
        # An agent with verify_incoming asks for a certificate.
        return f"it ended the TLS handshake ({reason.replace('_', ' ').lower()}): {GIVE_CERTIFICATE}"
    return f"the TLS handshake failed: {reason.replace('_', ' ').lower() or fault}"


def _untrusted(fault: ssl.SSLCertVerificationError) -> str:
    said = fault.verify_message
    if fault.verify_code in (_OTHER_HOST, _OTHER_IP):
        return (
            f"its certificate is for another name ({said}): say which it has, Consul(tls_server_name=…) or "
            "CONSUL_TLS_SERVER_NAME"
        )
    if fault.verify_code == _EXPIRED:
        return f"its certificate cannot be trusted ({said}): renew it, or set the clock of this machine"
    return (
        f"its certificate cannot be trusted ({said}): give that of the authority which signed it, Consul(ca_cert=…), "
        "CONSUL_CACERT or CONSUL_CAPATH"
    )


def _ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    """aiohttp keeps the error of a handshake as a cause of its own ones, some of which pretend to be of ssl."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, aiohttp.ClientError):
            return error
        error = error.__cause__ or error.__context__
    return None
