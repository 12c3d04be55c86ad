# The guest of hostwright/kvm.py: a boot sector that goes where a kernel goes, and then says so.
#
# It enters long mode and uses what a hypervisor that emulates the kernel's instructions trips over: an
# exception with its return, cmpxchg16b, shlx, xsave and xrstor. It ends QEMU through its debug exit device.
#
#   as --64 kvm.s -o kvm.o && ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary kvm.o -o kvm.bin

.code16
.globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    cld
    movw $0x1000, %di               # page tables: one page of two megabytes, itself
    movw $0x1800, %cx
    rep stosl
    movw $0x2003, 0x1000
    movw $0x3003, 0x2000
    movw $0x0083, 0x3000
    lgdt gdtr
    movl $0x40620, %eax             # PAE, SSE, its exceptions, xsave
    movl %eax, %cr4
    movl $0x1000, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orw $0x0100, %ax
    wrmsr
    movl %cr0, %eax
    andl $0xfffffffb, %eax
    orl $0x80000003, %eax
    movl %eax, %cr0
    ljmp $0x08, $long

.code64
long:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $0x7000, %esp
    movl $0x5000, %ebx              # interrupt table: the third entry is the breakpoint's
    movl $handler, %eax
    movw %ax, 0x30(%rbx)
    movw $0x08, 0x32(%rbx)
    movw $0x8e00, 0x34(%rbx)
    lidt idtr
    xorl %r15d, %r15d
    int3
    cmpl $1, %r15d
    jne fail
    movl $7, %eax
    xorl %ecx, %ecx
    cpuid
    btl $8, %ebx                    # BMI2
    jnc 1f
    movl $4, %ecx
    movl $1, %eax
    shlx %ecx, %eax, %eax
    cmpl $16, %eax
    jne fail
1:  xorl %eax, %eax
    xorl %edx, %edx
    xorl %ecx, %ecx
    movl $1, %ebx
    movl $0x6000, %edi
    lock cmpxchg16b (%rdi)
    jne fail
    xorl %ecx, %ecx
    xgetbv
    orl $3, %eax
    xsetbv
    movl $0x6100, %edi
    xsave64 (%rdi)
    xrstor64 (%rdi)
    movb $0x10, %al
    outb %al, $0xf4
fail:
    hlt
    jmp fail
handler:
    incl %r15d
    iretq

.balign 8
gdt:
    .quad 0
    .quad 0x00af9a000000ffff
    .quad 0x00cf92000000ffff
gdtr:
    .word gdtr - gdt - 1
    .long gdt
idtr:
    .word 0x1ff
    .quad 0x5000
.org 510
    .word 0xaa55
