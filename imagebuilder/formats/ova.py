"""ova: a virtual appliance for vSphere, VirtualBox and the import of clouds.

An archive with a description in OVF 1.0 (DMTF DSP0243), the disk as a `streamOptimized` vmdk, and
the digests of both. The machine has two processors, 2 GiB of memory, a paravirtual SCSI controller
and a vmxnet3 network card; importers let that be changed. The same disk gives the same bytes, in
a file of the same name, from the same version of qemu-img.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path
from xml.sax.saxutils import quoteattr

from imagebuilder.formats import place, qemu_img, sparse, stamped, tar
from imagebuilder.formats.converted import STREAM
from imagebuilder.formats.model import Artefact, Output, Source
from imagebuilder.process import Runner

SOURCE = Source.DISK
SUFFIXES = {"ova": ".ova"}
FEATURES = ("qemu-img",)
PROCESSORS, MEMORY = 2, 2048  # MiB
STREAM_URL = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
LINUX_64 = 101  # CIM_OperatingSystem.OsType

OVF = """\
<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" \
xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" \
xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" \
xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href={disk} ovf:id="file1" ovf:size="{size}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" \
ovf:fileRef="file1" ovf:format="{format}"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="VM Network"><Description>Network</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id={name}>
    <Info>A virtual machine</Info>
    <Name>{title}</Name>
    <OperatingSystemSection ovf:id="{system}"><Info>Linux, 64 bits</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </System>
{items}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""
# Elements in alphabetical order, as their schema wants them (CIM_ResourceAllocationSettingData).
HARDWARE: tuple[tuple[tuple[str, str], ...], ...] = (
    (
        ("ElementName", "Processors"),
        ("InstanceID", "1"),
        ("ResourceType", "3"),
        ("VirtualQuantity", str(PROCESSORS)),
    ),
    (
        ("AllocationUnits", "byte * 2^20"),
        ("ElementName", "Memory"),
        ("InstanceID", "2"),
        ("ResourceType", "4"),
        ("VirtualQuantity", str(MEMORY)),
    ),
    (
        ("Address", "0"),
        ("ElementName", "SCSI controller"),
        ("InstanceID", "3"),
        ("ResourceSubType", "VirtualSCSI"),
        ("ResourceType", "6"),
    ),
    (
        ("AddressOnParent", "0"),
        ("ElementName", "Disk"),
        ("HostResource", "ovf:/disk/vmdisk1"),
        ("InstanceID", "4"),
        ("Parent", "3"),
        ("ResourceType", "17"),
    ),
    (
        ("AutomaticAllocation", "true"),
        ("Connection", "VM Network"),
        ("ElementName", "Network card"),
        ("InstanceID", "5"),
        ("ResourceSubType", "VmxNet3"),
        ("ResourceType", "10"),
    ),
)


def write(source: Path, output: Output, run: Runner) -> Artefact:
    """Pack the disk `source`, converted, and its description into the output."""
    with tempfile.TemporaryDirectory(dir=source.parent) as directory:
        disk = Path(directory, f"{output.path.stem}-disk1.vmdk")
        run(qemu_img.convert(source, disk, "vmdk", STREAM))
        settled = Output(path=disk, format="vmdk", epoch=output.epoch)
        stamped.settle("vmdk", disk, settled)
        capacity = source.stat().st_size
        return place.place(
            output,
            lambda path: _fill(disk, capacity, path, output),
            lambda: disk.stat().st_size,
        )


def describe(disk: str, size: int, capacity: int, name: str) -> str:
    """The OVF document of a machine with one disk; `size` is the file's, in bytes."""
    items = "".join(_item(fields) for fields in HARDWARE)
    return OVF.format(
        disk=quoteattr(disk),
        size=size,
        capacity=capacity,
        format=STREAM_URL,
        name=quoteattr(name),
        title=quoteattr(name)[1:-1],
        system=LINUX_64,
        items=items,
    )


def _item(fields: tuple[tuple[str, str], ...]) -> str:
    lines = "".join(f"        <rasd:{key}>{value}</rasd:{key}>\n" for key, value in fields)
    return f"      <Item>\n{lines}      </Item>\n"


def _fill(disk: Path, capacity: int, target: Path, output: Output) -> None:
    # XML has no bytes that are no characters.
    name, image = (n.encode(errors="replace").decode() for n in (output.path.stem, disk.name))
    size = disk.stat().st_size
    description = describe(image, size, capacity, name).encode()
    with target.open("w+b") as file:
        file.write(tar.member(f"{name}.ovf", description, output.epoch))
        file.write(tar.header(image, size, output.epoch))
        with disk.open("rb") as content:
            shutil.copyfileobj(content, file, 2**22)
            (digest,) = sparse.digests(content.fileno(), ("sha256",)).values()
        file.write(bytes(-size % tarfile.BLOCKSIZE))
        sums = {f"{name}.ovf": hashlib.sha256(description).hexdigest(), image: digest}
        lines = "".join(f"SHA256({member})= {each}\n" for member, each in sums.items())
        file.write(tar.member(f"{name}.mf", lines.encode(), output.epoch))
        file.write(bytes(2 * tarfile.BLOCKSIZE))
