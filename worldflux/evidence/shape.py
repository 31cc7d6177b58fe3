"""Layer 1: every document of the package has the form that its own standard asks for."""

from __future__ import annotations

from worldflux.errors import WorldFluxError
from worldflux.evidence import bag, dsse, layout, statements
from worldflux.evidence.reading import Layer, Reading
from worldflux.manifest import io

_REQUIRED = (
    layout.BAGIT,
    layout.BAG_INFO,
    layout.PAYLOAD_LIST,
    layout.TAG_LIST,
    layout.DATA + layout.MANIFEST,
    layout.DATA + layout.CRATE,
)
_PREDICATES = {
    layout.RUN_STATEMENT: statements.PROVENANCE,
    layout.PAYLOAD_STATEMENT: statements.MODEL_SIGNING,
}


def check_shape(reading: Reading) -> Layer:
    """Schema and canonical form of the manifest, and the forms of tag files, crate and statements."""
    layer = Layer("shape")
    for path in _REQUIRED:
        if not reading.has(path):
            layer.fault(path, "is missing")
    _manifest(reading, layer)
    _tags(reading, layer)
    if reading.has(layout.DATA + layout.CRATE):
        _told(layer, reading, layout.DATA + layout.CRATE, lambda: reading.json(layout.DATA + layout.CRATE))
    for path, predicate in _PREDICATES.items():
        if reading.has(path):
            _told(
                layer, reading, path, lambda path=path, predicate=predicate: _bundle(reading, path, predicate)
            )
    layer.summary = "its documents fit their schemas" if not layer.faults else "a document has the wrong form"
    return layer


def check_manifest_shape(document: object, data: bytes, where: str, layer: Layer) -> None:
    """The manifest against its schema, and its bytes against canonical JSON."""
    if not isinstance(document, dict):
        return
    for fault in io.validate(document, strict=False):
        layer.fault(f"{where}{fault.where}", fault.problem)
    if io.canonical(document) != data:
        layer.fault(where, "is not canonical JSON (RFC 8785)")


def _manifest(reading: Reading, layer: Layer) -> None:
    path = layout.DATA + layout.MANIFEST
    if not reading.has(path):
        return

    def look() -> None:
        data = reading.bytes_of(path)
        document = io.parse(data, path)
        io.from_document(document, path)
        check_manifest_shape(document, data, path, layer)

    _told(layer, reading, path, look)


def _tags(reading: Reading, layer: Layer) -> None:
    if reading.has(layout.BAGIT):
        text = reading.bytes_of(layout.BAGIT)
        if text != bag.BAGIT_TEXT.encode():
            layer.fault(layout.BAGIT, "does not declare BagIt 1.0 in UTF-8")
    for path in (layout.PAYLOAD_LIST, layout.TAG_LIST):
        if reading.has(path):
            _told(layer, reading, path, lambda path=path: bag.read_listing(reading.text(path)))
    if reading.has(layout.BAG_INFO):
        _told(layer, reading, layout.BAG_INFO, lambda: _info(reading))


def _info(reading: Reading) -> None:
    if bag.oxum(reading.text(layout.BAG_INFO)) is None:
        raise bag.BagError("does not state its Payload-Oxum")


def _bundle(reading: Reading, path: str, predicate: str) -> None:
    bundle = dsse.decode(reading.json(path))
    statement = dsse.statement_of(bundle, path)
    if statement.get("predicateType") != predicate:
        raise dsse.BundleError("it makes another kind of statement than its name says")


def _told(layer: Layer, reading: Reading, path: str, look: object) -> None:
    """Run one look at a file; what it raises is a fault of that file."""
    try:
        look()  # type: ignore[operator]
    except WorldFluxError as error:
        layer.fault(path, error.problem.removeprefix(f"{reading.package.where}: ").removeprefix(f"{path}: "))
    except ValueError as error:
        layer.fault(path, str(error))
