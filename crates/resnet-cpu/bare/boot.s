# The first sector of the disk: loads the kernel behind it, switches to 64 bits with AVX-512 and AMX on, and jumps there.

.set KERNEL, 0x10000            # where kernel.ld puts it
.set KERNEL_SECTORS, 16         # as in run.py
.set PML4, 0x1000
.set PDPT, 0x2000

.code16
.globl _start
_start:
        cli
        xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %ss
        mov     $0x7c00, %sp
        mov     $(KERNEL >> 4), %ax
        mov     %ax, %es
        xor     %bx, %bx
        mov     $(0x0200 | KERNEL_SECTORS), %ax # read sectors
        mov     $0x0002, %cx                    # from the second one of the first track
        mov     $0x0080, %dx                    # of the first disk
        int     $0x13
        cli                                     # the BIOS may have allowed interrupts
        in      $0x92, %al                      # address line 20
        or      $2, %al
        out     %al, $0x92
        lgdt    gdtr
        mov     %cr0, %eax
        or      $1, %eax
        mov     %eax, %cr0
        ljmp    $0x18, $protected

.code32
protected:
        mov     $0x10, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        # Two pages of 1 GiB, mapped where they are.
        mov     $PML4, %edi
        xor     %eax, %eax
        mov     $0x800, %ecx
        cld
        rep stosl
        movl    $(PDPT | 3), PML4
        movl    $0x00000083, PDPT
        movl    $0x40000083, PDPT + 8
        mov     %cr4, %eax
        or      $(1 << 5 | 1 << 9 | 1 << 10 | 1 << 18), %eax   # PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
        mov     %eax, %cr4
        mov     $PML4, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx               # EFER: system calls, long mode
        rdmsr
        or      $(1 | 1 << 8), %eax
        wrmsr
        mov     %cr0, %eax
        and     $~(1 << 2), %eax                # no emulation of the x87
        or      $(1 << 31 | 1 << 5 | 1 << 1), %eax
        mov     %eax, %cr0
        ljmp    $0x08, $long

.code64
long:
        mov     $0x10, %ax
        mov     %ax, %ss
        mov     %ax, %ds
        mov     %ax, %es
        xor     %ecx, %ecx                      # XCR0: x87, SSE, AVX, AVX-512, tile configuration and data
        xor     %edx, %edx
        mov     $0x600e7, %eax
        xsetbv
        mov     $0x70000, %esp
        mov     $KERNEL, %eax
        jmp     *%rax

        .balign 8
gdt:    .quad   0
        .quad   0x00209a0000000000              # 0x08: 64-bit code
        .quad   0x00cf92000000ffff              # 0x10: data
        .quad   0x00cf9a000000ffff              # 0x18: 32-bit code
gdtr:   .word   . - gdt - 1
        .long   gdt

        .org    500
        .long   0                               # sectors of the program; run.py fills it in
        .org    510
        .word   0xaa55
